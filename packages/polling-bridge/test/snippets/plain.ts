import { polling } from './polling.js'

export const orders = polling.poll<{ n: number }>({
  url: '/api/orders',
  intervalMs: 5000,
  onData: ({ n }) => (document.body.textContent = `${n} orders`),
})
orders.on('state', (state) => (document.body.dataset.orders = state))
