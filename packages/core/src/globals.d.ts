// What core uses of the platform: present in Node 20, browsers, workers and React Native alike.
// Named one by one, so that nothing else of the DOM or of Node slips into core.
declare const performance: { now(): number }
declare function setTimeout(run: () => void, ms: number): unknown
declare function clearTimeout(timer: unknown): void
declare class TextEncoder {
  encode(text: string): Uint8Array<ArrayBuffer>
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean })
  decode(bytes?: Uint8Array, options?: { stream?: boolean }): string
}
declare function atob(base64: string): string
declare function btoa(binary: string): string
// React Native has none of its own.
// eslint-disable-next-line no-var -- only these are properties of globalThis
declare var crypto: { getRandomValues<T extends Uint8Array>(bytes: T): T } | undefined
declare function queueMicrotask(run: () => void): void
interface AbortSignal {
  readonly aborted: boolean
  addEventListener(type: 'abort', listener: () => void): void
}
declare class AbortController {
  readonly signal: AbortSignal
  abort(): void
}
