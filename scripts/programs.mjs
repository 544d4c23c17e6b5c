// Real programs that tests drive. One line each; tests find the path in the environment variable.
import { accessSync, constants, statSync } from 'node:fs'
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
}

/** Where macOS keeps applications that are not on PATH. */
const applications = ['Chromium', 'Google Chrome'].map((app) => `/Applications/${app}.app/Contents/MacOS`)

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
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', ...applications]
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

async function installWithApt(missing) {
  const packages = missing.map((name) => programs[name].apt)
  say(`Installing ${packages.join(', ')} with apt-get ...`)
  const options = { quiet: true, env: { DEBIAN_FRONTEND: 'noninteractive' } }
  const lock = ['-o', 'DPkg::Lock::Timeout=300']
  const update = await run('apt-get', [...lock, 'update'], options)
  const args = [...lock, 'install', '-y', '--no-install-recommends', ...packages]
  const { code, output } = await run('apt-get', args, options)
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

/** Finds each program, installs what is missing where it may, and puts the paths into the environment. */
export async function providePrograms(names = Object.keys(programs)) {
  let missing = names.filter((name) => !find(programs[name]))
  if (missing.length > 0 && process.getuid?.() === 0 && onPath(['apt-get'])) {
    await installWithApt(missing)
    missing = missing.filter((name) => !find(programs[name]))
  }
  if (missing.length > 0) throw refusal(missing)
  for (const name of names) process.env[programs[name].env] = find(programs[name])
}
