import { createPolling } from '@everwire/polling-bridge/client'
import { createClient } from 'everwire/client'
import { onForms, onNote, post, showInbox, showNote, showOrders, showState } from '../../src/page/view.js'

const intervalMs = 5_000

const client = createClient({ url: '/everwire' })
const { poll } = createPolling({ client })
const orders = poll({ url: '/api/orders', intervalMs, onData: showOrders })
const inbox = poll({ url: '/api/inbox', intervalMs, onData: showInbox })
orders.on('state', showState)

const refresh = () => {
  void orders.refresh()
  void inbox.refresh()
}

onForms(async (url, body, method) => {
  await post(url, body, method)
  refresh()
})

const notes = client.channel('desk:notes')
notes.on('note', (text, { userId }) => showNote(String(text), userId))
void notes.subscribe()
onNote(async (text) => void (await notes.publish('note', text)))
