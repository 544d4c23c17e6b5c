import { onForms, post, showInbox, showOrders } from '../../src/page/view.js'

const intervalMs = 5_000

const load = async (url: string) => await (await fetch(url)).json()

const refresh = () => {
  void load('/api/orders').then(showOrders)
  void load('/api/inbox').then(showInbox)
}

refresh()
setInterval(refresh, intervalMs)

onForms(async (url, body, method) => {
  await post(url, body, method)
  refresh()
})
