import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { freePorts } from '../nats-server/free-ports.js'
import { inFolder } from './folder.js'
import { adapted, type LoadBalancerOptions } from './options.js'
import { createProgram, type ProxyProgram } from './program.js'

/** Folders that nginx makes where it was built to; a user other than root may not. */
const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

export const createNginx = (options: LoadBalancerOptions): Promise<ProxyProgram> =>
  inFolder('nginx', (folder, clean) => createNginxIn(folder, clean, options))

async function createNginxIn(
  folder: string,
  clean: () => Promise<void>,
  options: LoadBalancerOptions,
): Promise<ProxyProgram> {
  const [port] = (await freePorts(1)) as [number]
  const configFile = path.join(folder, 'nginx.conf')
  const own = folders.map((name) => `    ${name}_temp_path ${path.join(folder, 'tmp', name)};\n`).join('')
  const config = adapted(
    await readFile(options.configFile, 'utf8'),
    options,
    [
      ['pid', /^pid \S+;/m, `pid ${path.join(folder, 'nginx.pid')};`],
      ['listen', /^(\s*listen) \d+;/m, `$1 127.0.0.1:${port};`],
      ['http block', /^http \{\n/m, `http {\n${own}`],
    ],
    /^(\s*server )[\w.]+:\d+/,
  )
  await mkdir(path.join(folder, 'tmp'))
  await writeFile(configFile, config)
  return createProgram({
    name: 'nginx',
    env: 'NGINX_PATH',
    // One process, which dies as a whole.
    args: ['-p', folder, '-c', configFile, '-e', 'stderr', '-g', 'daemon off; master_process off;'],
    port,
    clean,
  })
}
