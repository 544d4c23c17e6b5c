create or replace function orders_changed() returns trigger language plpgsql as $$
begin
  perform pg_notify('orders_changed', '');
  return null;
end $$;

create or replace trigger orders_changed
  after insert or update or delete or truncate on orders
  for each statement execute function orders_changed();
