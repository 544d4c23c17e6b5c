import neostandard from 'neostandard'
import tseslint from 'typescript-eslint'
import { importTable } from './scripts/import-table.mjs'

const sources = ['packages/*/src/**/*.ts']
// Must run in a browser: nothing of Node. Everything in a transport that is not its server half is the client's.
const browserSafe = [
  'packages/core/src/**/*.ts',
  'packages/client/src/**/*.ts',
  'packages/transport-*/src/**/*.ts',
  'packages/{react,vue,svelte}/src/**/*.ts',
  'packages/everwire/src/{client,browser}.ts',
  'packages/polling-bridge/src/{client,browser}.ts',
  'packages/polling-bridge/src/client/**/*.ts',
  'packages/polling-bridge/src/{announcement,apply-patch,change}.ts',
]
const serverHalves = ['packages/transport-*/src/server.ts', 'packages/transport-*/src/server/**/*.ts']

const fromNode = [
  'process',
  'Buffer',
  'global',
  'require',
  'module',
  '__dirname',
  '__filename',
  'setImmediate',
]
const fromBrowsers = ['window', 'document', 'navigator', 'localStorage', 'sessionStorage']
const inputOutput = ['fetch', 'WebSocket', 'EventSource', 'XMLHttpRequest', 'console']
const time = ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance']
const restricted = (...groups) => ['error', ...groups.flat()]
const timers = time.map((name) => ({ name, message: 'Time comes from the Clock that is handed in.' }))

export default [
  { ignores: ['**/dist/', '.verify/', '**/.tap/', '**/.turbo/', '**/coverage/'] },
  ...neostandard({ ts: true, noStyle: true, noJsx: true }),
  {
    rules: { curly: 'off' }, // `if (x)` with its statement on the next line is what prettier makes of a long one
  },
  {
    files: ['**/*.ts'],
    plugins: { '@typescript-eslint': tseslint.plugin },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'off',
      'no-undef': 'off', // the compiler knows better
      'no-void': 'off', // `void promise` says that nobody waits for it
    },
  },
  {
    files: ['packages/**/*.ts', 'apps/**/*.ts'],
    plugins: { everwire: { rules: { 'import-table': importTable } } },
    rules: { 'everwire/import-table': 'error' },
  },
  {
    files: sources,
    rules: {
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: 'No default exports: export by name.' },
        {
          selector: 'ExportSpecifier[exported.name="default"]',
          message: 'No default exports: export by name.',
        },
        { selector: 'TSEnumDeclaration', message: 'No enums: use a union of strings.' },
        { selector: 'TSModuleDeclaration[kind="namespace"]', message: 'No namespaces: a file is a module.' },
        { selector: 'TSParameterProperty', message: 'No parameter properties: use #private fields.' },
        {
          selector:
            'Program > VariableDeclaration[kind="let"], ExportNamedDeclaration > VariableDeclaration[kind="let"]',
          message: 'No module-level state: keep it in what a factory returns.',
        },
      ],
      'no-restricted-globals': restricted(timers),
    },
  },
  {
    files: browserSafe,
    ignores: serverHalves,
    rules: { 'no-restricted-globals': restricted(fromNode, timers) },
  },
  {
    files: ['packages/core/src/**/*.ts'],
    rules: { 'no-restricted-globals': restricted(fromNode, fromBrowsers, inputOutput, timers) },
  },
  {
    // The one place that turns a machine's timers into a Clock.
    files: ['packages/core/src/clock.ts'],
    rules: { 'no-restricted-globals': restricted(fromNode, fromBrowsers, inputOutput) },
  },
]
