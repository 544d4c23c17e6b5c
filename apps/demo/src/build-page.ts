import { copyFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const source = fileURLToPath(new URL('../src/page', import.meta.url))

/** Bundles the page into a folder. `conditions`: how it finds its siblings, `@everwire/source` for those not built. */
export async function buildPage(
  outDir: string,
  { conditions = [] }: { conditions?: string[] } = {},
): Promise<void> {
  await rm(outDir, { recursive: true, force: true })
  await build({
    entryPoints: { main: path.join(source, 'main.ts'), style: path.join(source, 'style.css') },
    outdir: outDir,
    bundle: true,
    minify: true,
    sourcemap: true,
    format: 'esm',
    target: 'es2022',
    conditions,
    loader: { '.woff2': 'file' },
    assetNames: 'fonts/[name]-[hash]',
    logLevel: 'warning',
  })
  await copyFile(path.join(source, 'index.html'), path.join(outDir, 'index.html'))
}
