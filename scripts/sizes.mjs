// npm run check:sizes: what a browser loads, bundled and minified as applications do, against its limits and goals, and
// proof that a transport which is not imported leaves no byte. With --modules also what each file of a bundle costs.
import { gzipSync } from 'node:zlib'
import { build, transform } from 'esbuild'
import { main, root, say } from './lib.mjs'

const createClient = ['createClient', 'packages/client/src/index.ts']
const webSocket = ['webSocket', 'packages/transport-websocket/src/client.ts']
const sse = ['sse', 'packages/transport-sse/src/client.ts']
const longPolling = ['longPolling', 'packages/transport-long-polling/src/client.ts']

/** Files by the end of their names. */
const only = {
  httpTransports: ['core/src/event-stream.ts', 'core/src/http-frames.ts'],
  server: [
    'core/src/attach.ts',
    'core/src/channel-name-fault.ts',
    'core/src/codes.ts',
    'core/src/frame-check.ts',
    'core/src/outbox-budget.ts',
    'core/src/owner-session.ts',
    'core/src/response-head.ts',
    'core/src/response-link.ts',
  ],
}
const kib = 1024

/**
 * What is imported, and which files must leave nothing in it. `goal` is how large it should be in bytes of gzip, `limit`
 * what was reached and 1 %: it is only ever lowered, until it is the goal.
 */
export const bundles = {
  'client + websocket': {
    exports: [createClient, webSocket],
    limit: 11_340,
    goal: 8 * kib,
    without: [sse[1], longPolling[1], ...only.httpTransports, ...only.server],
  },
  'client + sse': {
    exports: [createClient, sse],
    limit: 12_290,
    goal: 8 * kib,
    without: [webSocket[1], longPolling[1], ...only.server],
  },
  'client + long polling': {
    exports: [createClient, longPolling],
    limit: 12_250,
    goal: 8 * kib,
    without: [webSocket[1], sse[1], ...only.server],
  },
  'client + all three': {
    exports: [createClient, webSocket, sse, longPolling],
    limit: 13_190,
    goal: 11 * kib,
    without: only.server,
  },
}

// Measured the same way, in KiB.
const peers =
  'actioncable 2.8, phoenix 7.4, engine.io-client 7.7, anycable 9.1, socket.io-client 12.8, signalr 14.0, sockjs-client 16.3'

const gzip = (text) => gzipSync(text, { level: 9 }).length

const bundle = async (exports, minifyWhitespace = true) => {
  const contents = exports.map(([name, file]) => `export { ${name} } from './${file}'`).join('\n')
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: root },
    absWorkingDir: root,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    conditions: ['@everwire/source'],
    // Loaded when `shareTabs` asks for it, as a file of its own.
    external: ['./tabs/tab-carrier.js'],
    legalComments: 'none',
    metafile: true,
    write: false,
    minifyWhitespace,
    minifyIdentifiers: true,
    minifySyntax: true,
  })
  return { text: outputFiles[0].text, metafile }
}

/** Sizes of one bundle, and by file how many of its bytes come from it. */
export async function measure({ exports }) {
  const { text, metafile } = await bundle(exports)
  const [{ inputs }] = Object.values(metafile.outputs)
  const files = Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0)
  return {
    min: Buffer.byteLength(text),
    gzip: gzip(text),
    files: Object.fromEntries(files.map(([file, { bytesInOutput }]) => [file, bytesInOutput])),
  }
}

/** What is wrong with a bundle, a line each. */
export const problemsOf = ({ limit, without }, { gzip, files }) => [
  ...(gzip > limit ? [`${gzip} bytes, ${gzip - limit} more than allowed`] : []),
  ...Object.keys(files)
    .filter((file) => without.some((end) => file.endsWith(end)))
    .map((file) => `${file} is in it, with ${files[file]} bytes`),
]

/** By file: its bytes, and how many bytes of gzip the bundle would lose without it. */
async function modulesOf({ exports }) {
  // With its white space, esbuild says which part is of which file.
  const { text } = await bundle(exports, false)
  const [, ...pieces] = text.replace(/^export \{[^}]*\};?\s*$/m, '').split(/^\/\/ (\S+\.ts)$/m)
  const parts = []
  for (let i = 0; i < pieces.length; i += 2) {
    const { code } = await transform(pieces[i + 1], { minifyWhitespace: true })
    parts.push({ file: pieces[i], code })
  }
  const whole = gzip(parts.map(({ code }) => code).join(''))
  return parts
    .map(({ file, code }) => {
      const rest = parts.filter((part) => part.file !== file).map((part) => part.code)
      return { file, min: Buffer.byteLength(code), gzip: whole - gzip(rest.join('')) }
    })
    .sort((a, b) => b.gzip - a.gzip)
}

const row = (name, min, gzip, rest = '') => say(`${name.padEnd(46)}${min} ${gzip}  ${rest}`.trimEnd())
const number = (value) => String(value).padStart(8)

async function checkSizes() {
  const withModules = process.argv.includes('--modules')
  const failures = []
  row('bytes', '     min', '    gzip', '   limit    goal')
  for (const [name, one] of Object.entries(bundles)) {
    const size = await measure(one)
    row(name, number(size.min), number(size.gzip), `${number(one.limit).slice(2)}${number(one.goal)}`)
    failures.push(...problemsOf(one, size).map((problem) => `${name}: ${problem}`))
    if (withModules)
      for (const { file, min, gzip } of await modulesOf(one)) row(`  ${file}`, number(min), number(gzip))
  }
  say(`Others, in KiB of gzip: ${peers}.`)
  for (const failure of failures) say(`FAILED ${failure}`)
  return failures.length === 0 ? 0 : 1
}

if (process.argv[1] === import.meta.filename) await main(checkSizes)
