// What the API takes and shows. `cost` of an order is not among it.

const text = { type: 'string', minLength: 1, maxLength: 200 }

const order = {
  type: 'object',
  properties: {
    id: { type: 'integer' },
    item: { type: 'string' },
    customer: {
      type: 'object',
      properties: { name: { type: 'string' }, street: { type: 'string' }, city: { type: 'string' } },
    },
    lines: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          sku: { type: 'string' },
          quantity: { type: 'integer' },
          price: { type: 'integer' },
        },
      },
    },
    status: { type: 'string' },
    updatedAt: { type: 'number' },
  },
}

export const orders = { response: { 200: { type: 'array', items: order } } }

export const newOrder = {
  body: { type: 'object', required: ['item'], properties: { item: text } },
  response: { 201: order },
}

export const status = {
  params: { type: 'object', properties: { id: { type: 'integer' } } },
  body: {
    type: 'object',
    required: ['status'],
    properties: { status: { type: 'string', enum: ['new', 'packed', 'shipped'] } },
  },
  response: { 200: order },
}

export const letter = {
  body: { type: 'object', required: ['to', 'text'], properties: { to: text, text } },
}
