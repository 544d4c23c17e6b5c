import { createPolling } from '@everwire/polling-bridge/client'
import { onForms, post, showInbox, showOrders, showState } from '../../src/page/view.js'

const intervalMs = 5_000

const { poll } = createPolling()
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
