import type { Order } from './store.js'

// What a form would ask for.

const names = ['Ada Park', 'Ben Osei', 'Chloe Laurent', 'Dario Conti', 'Eun-ji Kim']
const streets = ['12 Harbour Street', '7 Mill Lane', '230 Station Road', '4 The Green', '91 Canal Walk']
const cities = ['Leeds', 'Bristol', 'Cardiff', 'Dundee', 'Norwich']

export const customerOf = (id: number): Order['customer'] => ({
  name: names[id % names.length]!,
  street: streets[id % streets.length]!,
  city: cities[id % cities.length]!,
})

export const linesOf = (id: number): Order['lines'] =>
  ['FRAME', 'SHADE', 'CABLE'].map((part, i) => ({
    sku: `${part}-${1_000 + ((id * 7 + i) % 400)}`,
    quantity: 1 + ((id + i) % 3),
    price: 1_900 + 350 * i,
  }))
