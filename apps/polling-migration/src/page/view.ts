// What the page looks like: the same at every step. Where its data comes from is in the steps.

interface Order {
  id: number
  item: string
  status: string
}
interface Letter {
  id: number
  from: string
  text: string
}

const at = <E extends HTMLElement>(id: string) => document.getElementById(id) as E
const next: Record<string, string> = { new: 'packed', packed: 'shipped' }

function line(text: string, small: string): HTMLLIElement {
  const item = document.createElement('li')
  const name = document.createElement('span')
  const detail = document.createElement('small')
  name.textContent = text
  detail.textContent = small
  item.append(name, detail)
  return item
}

let change: (url: string, body: unknown, method?: string) => Promise<void> = async () => {}

export function showOrders(data: unknown): void {
  const lines = (data as Order[]).map(({ id, item, status }) => {
    const order = line(item, status)
    order.dataset.id = String(id)
    order.dataset.status = status
    const to = next[status]
    if (to) {
      const button = document.createElement('button')
      button.textContent = `mark ${to}`
      button.addEventListener('click', () => void change(`/api/orders/${id}`, { status: to }, 'PATCH'))
      order.append(button)
    }
    return order
  })
  at('orders').replaceChildren(...lines)
}

export function showInbox(data: unknown): void {
  const letters = (data as Letter[]).map(({ from, text }) => line(text, from))
  at('inbox').replaceChildren(...(letters.length > 0 ? letters : [line('None yet.', '')]))
}

/** How the data comes: live, by polling, or not at all. */
export function showState(state: string): void {
  const shown = at('state')
  shown.hidden = false
  shown.dataset.state = shown.textContent = state
}

export function showNote(text: string, from: string | undefined): void {
  at('desk').hidden = false
  at('notes').prepend(line(text, from ?? ''))
}

export async function post(url: string, body: unknown, method = 'POST'): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  await fetch(url, { method, headers, body: JSON.stringify(body) })
}

function onSubmit(id: string, submit: (fields: Record<string, unknown>) => Promise<void>): void {
  const form = at<HTMLFormElement>(id)
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const fields = Object.fromEntries(new FormData(form))
    form.reset()
    void submit(fields)
  })
}

/** What the visitor changes. */
export function onForms(changed: (url: string, body: unknown, method?: string) => Promise<void>): void {
  change = changed
  onSubmit('add-order', (fields) => changed('/api/orders', fields))
  onSubmit('send-letter', (fields) => changed('/api/inbox', fields))
}

/** A note that the visitor leaves; there is a desk for it from the fourth step on. */
export function onNote(left: (text: string) => Promise<void>): void {
  at('desk').hidden = false
  onSubmit('add-note', ({ note }) => left(String(note)))
}
