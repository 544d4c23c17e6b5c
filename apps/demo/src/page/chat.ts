import type { Client, EverwireError } from '@everwire/client'
import { chatChannel, chatLimits, type ChatMessage } from '../shared.js'
import { byId, make, setText, showProblem } from './dom.js'
import { shortClockTime } from './words.js'

const mostShown = 200
const historyLimit = 50
const nameKey = 'everwire-demo-name'

/** The chat: a line stands there at once, and is confirmed when it comes back from the channel. */
export function createChat(client: Client): void {
  const channel = client.channel(chatChannel)
  const log = byId('chat-log')
  const name = byId<HTMLInputElement>('chat-name')
  const text = byId<HTMLInputElement>('chat-text')
  const problem = byId('chat-problem')
  const shown = new Map<string, HTMLElement>()
  const mine = new Set<string>()

  const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40
  const add = (message: ChatMessage, { before = false, pending = false } = {}) => {
    const known = shown.get(message.id)
    if (known) {
      known.dataset.pending = String(pending)
      return setText(known.querySelector('.message-time')!, shortClockTime(message.at))
    }
    const follow = isAtEnd()
    const element = line(message, mine.has(message.id), pending)
    shown.set(message.id, element)
    if (before) log.prepend(element)
    else log.append(element)
    for (const [id, oldest] of shown) {
      if (shown.size <= mostShown) break
      oldest.remove()
      shown.delete(id)
    }
    if (follow) log.scrollTop = log.scrollHeight
  }

  channel.on('message', (data, { position }) => add(messageOf(data, position)))
  channel.on('gap', () => showProblem(problem, 'Some lines were too old to be sent again.'))
  channel
    .subscribe()
    .then(async () => {
      const { publications } = await channel.history({ limit: historyLimit })
      for (const { data, meta } of publications.reverse()) {
        const message = messageOf(data, meta.position)
        if (!shown.has(message.id)) add(message, { before: true })
      }
      log.scrollTop = log.scrollHeight
    })
    .catch((error: EverwireError) => showProblem(problem, `The chat cannot be read: ${error.message}`))

  name.value = remembered() ?? `${pick(adjectives)} ${pick(animals)}`
  name.addEventListener('change', () => remember(name.value.trim()))
  byId<HTMLFormElement>('chat-form').addEventListener('submit', (event) => {
    event.preventDefault()
    const message: ChatMessage = {
      id: crypto.getRandomValues(new Uint32Array(4)).join('-').slice(0, chatLimits.id),
      name: name.value.trim(),
      text: text.value.trim(),
      at: Date.now(),
    }
    if (message.name === '' || message.text === '') {
      showProblem(problem, message.name === '' ? 'Please give a name.' : 'Please write something.')
      return (message.name === '' ? name : text).focus()
    }
    showProblem(problem, undefined)
    mine.add(message.id)
    add(message, { pending: true })
    log.scrollTop = log.scrollHeight
    text.value = ''
    channel.publish('message', message, { id: message.id }).catch((error: EverwireError) => {
      const element = shown.get(message.id)
      if (element) setText(element.querySelector('.message-time')!, 'not sent')
      showProblem(problem, `“${message.text.slice(0, 40)}” was not sent: ${error.message}`)
    })
  })
}

/** Programs that publish on NATS are not checked by the server: what they leave away is filled in. */
function messageOf(data: unknown, position: { offset: number } | undefined): ChatMessage {
  const fields: Partial<ChatMessage> = typeof data === 'object' && data !== null ? data : {}
  const { id, name, text, at, house } = fields
  const whole = data instanceof Uint8Array ? new TextDecoder().decode(data) : JSON.stringify(data)
  return {
    id: typeof id === 'string' ? id : `offset ${position?.offset}`,
    name: typeof name === 'string' && name !== '' ? name : 'Someone on NATS',
    text: typeof text === 'string' ? text : typeof data === 'string' ? data : (whole ?? ''),
    at: typeof at === 'number' ? at : Date.now(),
    ...(house === true ? { house } : {}),
  }
}

function line({ name, text, at, house }: ChatMessage, isMine: boolean, pending: boolean): HTMLElement {
  const time = pending ? 'on its way' : shortClockTime(at)
  return make(
    'div',
    {
      class: 'message',
      'data-mine': String(isMine),
      'data-house': String(house === true),
      'data-pending': String(pending),
    },
    make('span', { class: 'avatar', 'aria-hidden': 'true' }, [...name][0] ?? '?'),
    make(
      'div',
      { class: 'message-head' },
      make('bdi', {}, name),
      make('span', { class: 'message-time' }, time),
    ),
    make('p', { dir: 'auto' }, text),
  )
}

const adjectives = ['Amber', 'Brisk', 'Calm', 'Copper', 'Eager', 'Lucky', 'Quiet', 'Steady']
const animals = ['Badger', 'Finch', 'Heron', 'Lynx', 'Marten', 'Otter', 'Robin', 'Swift']
const pick = (words: readonly string[]) => words[Math.floor(Math.random() * words.length)]!

// Storage may be forbidden; then every visit gets a new name.
function remembered(): string | undefined {
  try {
    return localStorage.getItem(nameKey)?.slice(0, chatLimits.name) || undefined
  } catch {
    return undefined
  }
}

function remember(name: string): void {
  try {
    localStorage.setItem(nameKey, name)
  } catch {
    // See above.
  }
}
