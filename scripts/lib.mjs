// What the scripts of this folder share. Only node:* here: it runs before anything is installed.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
export const at = (...parts) => path.join(root, ...parts)
export const say = (line) => console.log(line)
export const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`

const manifest = JSON.parse(readFileSync(at('package.json'), 'utf8'))

/** Every package and app of the workspace, each with its folder relative to the root. */
export function findPackages() {
  const folders = ['packages', 'apps'].flatMap((parent) =>
    readdirSync(at(parent)).map((name) => `${parent}/${name}`),
  )
  return folders
    .filter((folder) => existsSync(at(folder, 'package.json')))
    .map((folder) => {
      const found = JSON.parse(readFileSync(at(folder, 'package.json'), 'utf8'))
      return { name: found.name, folder, isPrivate: found.private === true }
    })
}

/** Whether a package has tests. */
export function hasTests({ folder }) {
  if (!existsSync(at(folder, 'test'))) return false
  return readdirSync(at(folder, 'test'), { recursive: true }).some((file) => file.endsWith('.test.ts'))
}

/** An error whose message says all: shown without a stack. */
export class Refusal extends Error {
  constructor(message, exitCode = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Runs a script's main function; a Refusal is one clear line and exit code 1. */
export async function main(run) {
  try {
    checkNode()
    process.exitCode = await run()
  } catch (error) {
    console.error(error instanceof Refusal ? error.message : error)
    process.exitCode = error instanceof Refusal ? error.exitCode : 1
  }
}

function checkNode() {
  const needed = manifest.engines.node.replace('>=', '')
  const newer = process.versions.node.localeCompare(needed, 'en', { numeric: true }) >= 0
  if (!newer) throw new Refusal(`Everwire needs Node ${needed} or newer; this is ${process.versions.node}.`)
}

const environment = {
  TURBO_TELEMETRY_DISABLED: '1',
  DO_NOT_TRACK: '1',
  npm_config_loglevel: 'error',
  npm_config_update_notifier: 'false',
}

const exitCodes = { SIGHUP: 129, SIGINT: 130, SIGKILL: 137, SIGTERM: 143 }

/**
 * Runs a program, in the root if no `cwd` is given, and resolves with its exit code and, with `quiet`, what it printed.
 * A signal that would end this process is passed on, and the program decides what to do about it; a quiet step just
 * stops.
 */
export function run(command, args, { quiet = false, env = {}, input = 'ignore', cwd = root } = {}) {
  return new Promise((resolve, reject) => {
    const stdio = quiet ? [input, 'pipe', 'pipe'] : [input, 'inherit', 'inherit']
    const shell = process.platform === 'win32' && command !== process.execPath
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...environment, ...env },
      stdio,
      shell,
    })
    let output = ''
    child.stdout?.on('data', (data) => (output += data))
    child.stderr?.on('data', (data) => (output += data))
    let stopped
    const forward = (signal) => {
      stopped = signal
      // Ctrl-C in a terminal has reached the child already: once more would look like an impatient user.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
    }
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
    for (const signal of signals) process.on(signal, forward)
    const done = () => signals.forEach((signal) => process.off(signal, forward))
    child.on('error', (error) => {
      done()
      reject(new Refusal(`Cannot run ${command}: ${error.message}`))
    })
    child.on('close', (code, signal) => {
      done()
      if (quiet && stopped) reject(new Refusal('Stopped.', exitCodes[stopped]))
      else resolve({ code: code ?? exitCodes[signal] ?? 1, output })
    })
  })
}

const orphanCheckMs = 500

/** A signal to npm ends npm and its shell, which does not pass it on: what they leave behind must end by itself. */
export function endWithParent() {
  const parent = process.ppid
  setInterval(() => {
    if (process.ppid !== parent) process.kill(process.pid, 'SIGTERM')
  }, orphanCheckMs).unref()
}

/** pnpm in the version that package.json pins, on a machine that has only Node and npm. */
export const pnpm = (args, options) => run('npx', ['--yes', manifest.packageManager, ...args], options)

/** turbo looks for `pnpm` on PATH: started by pnpm through npx, it finds it. */
export const turbo = (args, options) => pnpm(['exec', 'turbo', 'run', ...args], options)

/** Installs what the lockfile says, unless node_modules was installed from the same lockfile. */
export async function install() {
  const stamp = at('node_modules', '.everwire-installed')
  const wanted = createHash('sha256')
    .update(readFileSync(at('pnpm-lock.yaml')))
    .update(`${process.platform} ${process.arch}`)
    .digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  say('Installing dependencies ...')
  const started = Date.now()
  const args = ['install', '--frozen-lockfile', '--prod=false', '--config.confirmModulesPurge=false']
  const { code, output } = await pnpm(args, { quiet: true })
  if (code !== 0) throw new Refusal(`${output}\nInstalling failed.`)
  writeFileSync(stamp, wanted)
  say(`Installed in ${seconds(Date.now() - started)}.`)
}
