import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import vm from 'node:vm'
import { build } from 'esbuild'
import { WebSocket } from 'ws'

/** Of V8, but not of Hermes. */
const notInHermes = [
  'Atomics',
  'FinalizationRegistry',
  'SharedArrayBuffer',
  'WebAssembly',
  'escape',
  'unescape',
]

export interface ReactNativeOptions {
  /** Hermes has a TextDecoder; from React Native 0.85. */
  hasTextDecoder: boolean
}

/** A context with what React Native has, and nothing else; `run` gives the value of a script. */
export interface ReactNative {
  run(script: string): unknown
  /** What the script wrote to its console. */
  readonly log: string[]
  close(): void
}

/** `everwire/client` as one script that sets the global `Everwire`. */
export async function bundleClient(): Promise<string> {
  const entry = fileURLToPath(new URL('../../src/client.ts', import.meta.url))
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'iife',
    globalName: 'Everwire',
    target: 'es2020',
    conditions: ['@everwire/source'],
  })
  return outputFiles[0]!.text
}

export function createReactNative({ hasTextDecoder }: ReactNativeOptions): ReactNative {
  const log: string[] = []
  const open = new Set<() => void>()
  const later = (id: NodeJS.Timeout) => {
    open.add(() => clearTimeout(id))
    return id
  }
  const native = {
    hasTextDecoder,
    now: () => performance.now(),
    log: (...parts: unknown[]) => void log.push(parts.map(String).join(' ')),
    setTimeout: (run: () => void, ms: number) => later(setTimeout(run, ms)),
    setInterval: (run: () => void, ms: number) => later(setInterval(run, ms)),
    clearTimeout: (id: NodeJS.Timeout) => clearTimeout(id),
    atob,
    btoa,
    encode: (text: string) => Buffer.from(text).toString('base64'),
    decode: (base64: string, options: TextDecoderOptions) =>
      new TextDecoder('utf-8', options).decode(Buffer.from(base64, 'base64')),
    request(
      url: string,
      { method, headers, body }: { method: string; headers: string; body: string | null },
      done: (failure: string | undefined, answer?: string) => void,
    ) {
      const controller = new AbortController()
      const abort = () => controller.abort()
      open.add(abort)
      const init = {
        method,
        headers: JSON.parse(headers) as Record<string, string>,
        body,
        signal: controller.signal,
      }
      fetch(url, init)
        .then(async (response) => ({
          status: response.status,
          pairs: [...response.headers],
          text: await response.text(),
        }))
        .then(
          (answer) => done(undefined, JSON.stringify(answer)),
          (error: unknown) => done(String(error)),
        )
        .finally(() => open.delete(abort))
      return abort
    },
    connect(url: string, tell: (type: string, text: string, code?: number) => void) {
      const socket = new WebSocket(url, { perMessageDeflate: false })
      open.add(() => socket.terminate())
      socket.on('open', () => tell('open', ''))
      socket.on('message', (data: Buffer, binary) =>
        tell(binary ? 'binary' : 'text', data.toString(binary ? 'base64' : 'utf8')),
      )
      socket.on('error', () => {})
      socket.on('close', (code, reason) => tell(code === 1006 ? 'failed' : 'closed', String(reason), code))
      return {
        send: (text: string) => socket.send(text),
        sendBinary: (base64: string) => socket.send(Buffer.from(base64, 'base64')),
        close: (code: number, reason: string) => socket.close(code, reason),
      }
    },
  }
  // Hermes compiles ahead of time: no code is made of text.
  const context = vm.createContext({}, { codeGeneration: { strings: false, wasm: false } })
  const run = (script: string): unknown => vm.runInContext(script, context)
  for (const name of notInHermes) run(`delete globalThis.${name}`)
  run(readFileSync(new URL('globals.js', import.meta.url), 'utf8'))
  const become = run('becomeReactNative') as (given: typeof native) => void
  become(native)
  return {
    run,
    log,
    close: () => open.forEach((end) => end()),
  }
}
