// Real programs that tests drive. One line each; tests find the path in the environment variable.
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { Refusal, run, say } from './lib.mjs'

// prettier-ignore
const programs = {
  chromium: { env: 'CHROMIUM_PATH', names: ['chromium', 'chromium-browser', 'google-chrome', 'Chromium', 'Google Chrome'], apt: 'chromium', brew: '--cask chromium' },
  openssl: { env: 'OPENSSL_PATH', names: ['openssl'], apt: 'openssl', brew: 'openssl' },
  curl: { env: 'CURL_PATH', names: ['curl'], apt: 'curl', brew: 'curl' },
  'nats-server': { env: 'NATS_SERVER_PATH', names: ['nats-server'], apt: 'nats-server', brew: 'nats-server' },
  'redis-server': { env: 'REDIS_SERVER_PATH', names: ['redis-server'], apt: 'redis-server', brew: 'redis' },
  haproxy: { env: 'HAPROXY_PATH', names: ['haproxy'], apt: 'haproxy', brew: 'haproxy' },
  nginx: { env: 'NGINX_PATH', names: ['nginx'], apt: 'nginx', brew: 'nginx' },
  postgres: { env: 'POSTGRES_PATH', names: ['postgres'], apt: 'postgresql', brew: 'postgresql@17' },
  squid: { env: 'SQUID_PATH', names: ['squid'], apt: 'squid', brew: 'squid', for: 'network' },
  iptables: { env: 'IPTABLES_PATH', names: ['iptables'], apt: 'iptables', for: 'network' },
}

/** What every test needs; the rest is for the one verification that is named. */
const needed = Object.keys(programs).filter((name) => !programs[name].for)

/** Where macOS keeps applications that are not on PATH. */
const applications = ['Chromium', 'Google Chrome'].map((app) => `/Applications/${app}.app/Contents/MacOS`)

/** Where servers of PostgreSQL are, which Debian and Homebrew keep off PATH: a folder per version, the newest first. */
const postgresFolders = () =>
  [
    { parent: '/usr/lib/postgresql', version: /^(\d+)$/ },
    { parent: '/opt/homebrew/opt', version: /^postgresql@(\d+)$/ },
    { parent: '/usr/local/opt', version: /^postgresql@(\d+)$/ },
  ].flatMap(({ parent, version }) =>
    (existsSync(parent) ? readdirSync(parent) : [])
      .filter((name) => version.test(name))
      .sort((a, b) => version.exec(b)[1] - version.exec(a)[1])
      .map((name) => path.join(parent, name, 'bin')),
  )

const isProgram = (file) => {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}

function onPath(names) {
  // Debian keeps servers in sbin, which is not on every user's PATH.
  const folders = [
    ...(process.env.PATH ?? '').split(path.delimiter),
    '/usr/sbin',
    ...applications,
    ...postgresFolders(),
  ]
  for (const name of names) {
    const found = folders.map((folder) => path.join(folder, name)).find(isProgram)
    if (found) return found
  }
}

function find({ env, names }) {
  const given = process.env[env]
  if (!given) return onPath(names)
  if (!isProgram(given)) throw new Refusal(`${env} is set to "${given}", which is not a program.`)
  return given
}

/** Debian asks this program whether a service that it has installed may start: none may. */
const policy = { file: '/usr/sbin/policy-rc.d', text: '#!/bin/sh\nexit 101\n', mode: 0o755 }

/** Read when PostgreSQL is installed, or a cluster would be made that starts with the machine. */
const noCluster = {
  file: '/etc/postgresql-common/createcluster.d/everwire.conf',
  text: 'create_main_cluster = false\n',
  mode: 0o644,
}

async function having({ file, text, mode }, install) {
  if (existsSync(file)) return await install()
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, text, { mode })
  try {
    return await install()
  } finally {
    rmSync(file, { force: true })
  }
}

const withoutServices = (missing, install) =>
  having(policy, missing.includes('postgres') ? () => having(noCluster, install) : install)

async function installWithApt(missing) {
  const packages = missing.map((name) => programs[name].apt)
  say(`Installing ${packages.join(', ')} with apt-get ...`)
  const options = { quiet: true, env: { DEBIAN_FRONTEND: 'noninteractive' } }
  const lock = ['-o', 'DPkg::Lock::Timeout=300']
  const update = await run('apt-get', [...lock, 'update'], options)
  const args = [...lock, 'install', '-y', '--no-install-recommends', ...packages]
  const { code, output } = await withoutServices(missing, () => run('apt-get', args, options))
  if (code !== 0)
    throw new Refusal(`${update.output}${output}\napt-get could not install ${packages.join(', ')}.`)
}

function refusal(missing) {
  const list = (key) => missing.map((name) => programs[name][key])
  return new Refusal(
    [
      `Missing: ${missing.join(', ')}. Install with`,
      `  Debian, Ubuntu: sudo apt-get install -y --no-install-recommends ${list('apt').join(' ')}`,
      ...list('brew').map((formula) => `  macOS:          brew install ${formula}`),
      `or give the path in ${list('env').join(', ')}.`,
    ].join('\n'),
  )
}

const mayInstall = () => process.getuid?.() === 0 && onPath(['apt-get'])

function offer(names) {
  for (const name of names) {
    const found = find(programs[name])
    if (found) process.env[programs[name].env] = found
  }
}

/** Finds each program, installs what is missing where it may, and puts the paths into the environment. */
export async function providePrograms(names = needed) {
  let missing = names.filter((name) => !find(programs[name]))
  if (missing.length > 0 && mayInstall()) {
    await installWithApt(missing)
    missing = missing.filter((name) => !find(programs[name]))
  }
  if (missing.length > 0) throw refusal(missing)
  offer(names)
}

/** The same for what only this verification uses; it does without what cannot be had, and says so. */
export async function provideProgramsFor(verification) {
  const names = Object.keys(programs).filter((name) => programs[name].for === verification)
  const missing = names.filter((name) => !find(programs[name]))
  if (missing.length > 0 && mayInstall()) await installWithApt(missing).catch((error) => say(error.message))
  offer(names)
}
