import { createClient, type Client, type ClientOptions } from '@everwire/client'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'

// The page of browser-world.ts: one client, and everything that it heard.

export interface Heard {
  numbers: number[]
  gaps: string[]
  mine: unknown[]
  states: string[]
  tokens: number
}

export interface TestPage {
  start(token: string, options?: Partial<ClientOptions>): Promise<void>
  client: Client
  heard: Heard
  /** Asked for tokens from now on. */
  token: string
}

const page: TestPage = {
  heard: { numbers: [], gaps: [], mine: [], states: [], tokens: 0 },
  token: '',
  client: undefined as never,
  async start(token, options) {
    const { heard } = page
    page.token = token
    page.client = createClient({
      url: '/everwire',
      transports: [webSocket(), sse(), longPolling()],
      getToken() {
        heard.tokens++
        return page.token
      },
      ...options,
    })
    page.client.on('state', ({ state }) => heard.states.push(state))
    const own = page.client.channel('@me')
    own.on('*', (data) => heard.mine.push(data))
    const channel = page.client.channel('chat:a')
    channel.on('n', (data) => heard.numbers.push(data as number))
    channel.on('gap', ({ reason }) => heard.gaps.push(reason))
    await Promise.all([channel.subscribe(), own.subscribe()])
  },
}

declare global {
  interface Window {
    page: TestPage
  }
}
window.page = page
