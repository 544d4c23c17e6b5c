/*
 * What React Native 0.76 and newer adds to its engine, as far as a network library may touch it, and with the same holes.
 * Runs inside the bare context; `native` stands for its native modules, to which bytes go as base64.
 *
 * From the sources of react-native (packages/react-native/Libraries):
 * - Core/setUpGlobals.js: `window` and `self` are the global object; there is no `document`, `location`, `localStorage`,
 *   and no `addEventListener`.
 * - Core/setUpTimers.js, setUpPerformance.js, setUpNavigator.js: timers, `queueMicrotask`, `performance.now`,
 *   `navigator` with nothing but `product`.
 * - Core/setUpXHR.js, Network/fetch.js: `fetch` is whatwg-fetch over XMLHttpRequest: it resolves once the whole answer is
 *   there, and a response has no `body` (https://github.com/facebook/react-native/issues/27741).
 * - the package abort-controller: no `AbortSignal.timeout`, no `reason`.
 * - WebSocket/WebSocket.js: `bufferedAmount` is declared and never set; `send` refuses while connecting.
 * - Blob/URL.js: `new URL` checks nothing and puts a slash at the end; no `URL.canParse`.
 * Of Hermes: `TextEncoder`, `atob` and `btoa` since React Native 0.74 (https://github.com/facebook/hermes/issues/948,
 * https://github.com/facebook/hermes/issues/1178), `TextDecoder` since 0.85
 * (https://github.com/facebook/hermes/pull/1855); no `crypto` (https://github.com/facebook/hermes/issues/1003).
 */
globalThis.becomeReactNative = (native) => {
  delete globalThis.becomeReactNative
  const global = globalThis
  global.window = global.self = global.global = global
  global.navigator = { product: 'ReactNative' }
  global.process = { env: { NODE_ENV: 'production' } }
  global.performance = { now: () => native.now() }
  global.console = { log: native.log, warn: native.log, error: native.log }
  global.setTimeout = (run, ms, ...args) => native.setTimeout(() => run(...args), ms)
  global.clearTimeout = (id) => native.clearTimeout(id)
  global.setInterval = (run, ms, ...args) => native.setInterval(() => run(...args), ms)
  global.clearInterval = (id) => native.clearTimeout(id)
  global.queueMicrotask = (run) => {
    Promise.resolve().then(run)
  }

  global.atob = (text) => native.atob(String(text))
  global.btoa = (text) => native.btoa(String(text))
  const toBytes = (base64) => Uint8Array.from(atob(base64), (unit) => unit.charCodeAt(0))
  const toBase64 = (view) => btoa(Array.from(view, (byte) => String.fromCharCode(byte)).join(''))
  global.TextEncoder = class TextEncoder {
    encode(text = '') {
      return toBytes(native.encode(String(text)))
    }
  }
  if (native.hasTextDecoder)
    global.TextDecoder = class TextDecoder {
      constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
        Object.assign(this, { encoding: label, fatal, ignoreBOM })
      }

      decode(bytes) {
        const { fatal, ignoreBOM } = this
        return native.decode(toBase64(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)), {
          fatal,
          ignoreBOM,
        })
      }
    }

  global.AbortSignal = class AbortSignal {
    aborted = false
    #listeners = new Set()
    addEventListener(type, listener) {
      if (type === 'abort') this.#listeners.add(listener)
    }

    removeEventListener(_type, listener) {
      this.#listeners.delete(listener)
    }

    dispatchEvent(event) {
      for (const listener of this.#listeners) listener.call(this, event)
    }
  }
  global.AbortController = class AbortController {
    signal = new AbortSignal()
    abort() {
      if (this.signal.aborted) return
      this.signal.aborted = true
      this.signal.dispatchEvent({ type: 'abort' })
    }
  }

  global.URL = class URL {
    constructor(url, base) {
      this.href = base
        ? `${base.replace(/\/$/, '')}/${url.replace(/^\//, '')}`
        : url.endsWith('/')
          ? url
          : `${url}/`
    }

    toString() {
      return this.href
    }
  }

  global.fetch = (url, { method = 'GET', headers = {}, body = null, signal, cache } = {}) =>
    new Promise((resolve, reject) => {
      const aborted = () => reject(Object.assign(new Error('Aborted'), { name: 'AbortError' }))
      if (signal?.aborted) return aborted()
      let address = String(url)
      if (method === 'GET' && (cache === 'no-store' || cache === 'no-cache'))
        address += `${address.includes('?') ? '&' : '?'}_=${Date.now()}`
      const abort = native.request(
        address,
        { method, headers: JSON.stringify(headers), body },
        (failure, answer) => {
          if (failure) return reject(new TypeError('Network request failed'))
          const { status, pairs, text } = JSON.parse(answer)
          const found = new Map(pairs)
          resolve({
            ok: status >= 200 && status < 300,
            status,
            url: address,
            headers: {
              get: (name) => found.get(name.toLowerCase()) ?? null,
              has: (name) => found.has(name.toLowerCase()),
            },
            text: () => Promise.resolve(text),
            json: () => Promise.resolve(JSON.parse(text)),
          })
        },
      )
      signal?.addEventListener('abort', () => {
        abort()
        aborted()
      })
    })

  global.WebSocket = class WebSocket {
    static CONNECTING = 0
    static OPEN = 1
    static CLOSING = 2
    static CLOSED = 3
    readyState = 0
    bufferedAmount = undefined
    onopen = null
    onmessage = null
    onclose = null
    onerror = null
    #binaryType
    #socket
    constructor(url) {
      this.url = url
      this.#socket = native.connect(url, (type, text, code) => {
        if (type === 'open') {
          this.readyState = 1
          this.onopen?.({ type })
        } else if (type === 'text') this.onmessage?.({ type: 'message', data: text })
        else if (type === 'binary') this.onmessage?.({ type: 'message', data: toBytes(text).buffer })
        else {
          this.readyState = 3
          if (type === 'failed') this.onerror?.({ type: 'error' })
          this.onclose?.({ type: 'close', code: type === 'failed' ? 1006 : code, reason: text })
        }
      })
    }

    get binaryType() {
      return this.#binaryType
    }

    set binaryType(type) {
      if (type !== 'blob' && type !== 'arraybuffer')
        throw new Error("binaryType must be either 'blob' or 'arraybuffer'")
      this.#binaryType = type
    }

    send(data) {
      if (this.readyState === 0) throw new Error('INVALID_STATE_ERR')
      if (typeof data === 'string') this.#socket.send(data)
      else if (ArrayBuffer.isView(data))
        this.#socket.sendBinary(toBase64(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)))
      else throw new Error('Unsupported data type')
    }

    close(code = 1000, reason = '') {
      if (this.readyState > 1) return
      this.readyState = 2
      this.#socket.close(code, reason)
    }
  }
}
