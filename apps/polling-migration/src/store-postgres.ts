import pg from 'pg'
import { customerOf, linesOf } from './samples.js'
import type { Letter, Order, Store } from './store.js'

const schema = `
  create table if not exists orders (
    id integer generated always as identity primary key,
    item text not null,
    customer jsonb not null,
    lines jsonb not null,
    status text not null default 'new',
    updated_at timestamptz not null default clock_timestamp(),
    cost integer not null
  );
  create table if not exists letters (
    id integer generated always as identity primary key,
    sender text not null,
    recipient text not null,
    body text not null
  );`

const orderColumns = `id, item, customer, lines, status, (extract(epoch from updated_at) * 1000)::float8 as "updatedAt", cost`

/** In PostgreSQL. */
export async function createPostgresStore(connectionString: string): Promise<Store> {
  const pool = new pg.Pool({ connectionString, max: 4 })
  // A connection that breaks while idle is replaced at the next query.
  pool.on('error', () => {})
  // Servers that start together would create the same tables.
  await pool.query(`begin; select pg_advisory_xact_lock(1); ${schema}; commit`)
  const rows = async <Row>(text: string, values: unknown[] = []) =>
    (await pool.query(text, values)).rows as Row[]
  return {
    orders: () => rows<Order>(`select ${orderColumns} from orders order by id desc limit 50`),
    async addOrder(item) {
      const sample = item.length
      const values = [item, customerOf(sample), JSON.stringify(linesOf(sample)), 10 * item.length]
      const text = `insert into orders (item, customer, lines, cost) values ($1, $2, $3, $4) returning ${orderColumns}`
      return (await rows<Order>(text, values))[0]!
    },
    async setStatus(id, status) {
      const text = `update orders set status = $2, updated_at = clock_timestamp() where id = $1 returning ${orderColumns}`
      return (await rows<Order>(text, [id, status]))[0]
    },
    inbox: (user) =>
      rows<Letter>(
        'select id, sender as "from", body as text from letters where recipient = $1 order by id desc limit 20',
        [user],
      ),
    async send(from, to, text) {
      const insert =
        'insert into letters (sender, recipient, body) values ($1, $2, $3) returning id, sender as "from", body as text'
      return (await rows<Letter>(insert, [from, to, text]))[0]!
    },
    close: () => pool.end(),
  }
}
