import { copyFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const source = fileURLToPath(new URL('../src/page', import.meta.url))

/** Bundles the page and the lab into a folder. `conditions`: how it finds its siblings, `@everwire/source` for those not built. */
export async function buildPage(
  outDir: string,
  { conditions = [] }: { conditions?: string[] } = {},
): Promise<void> {
  await rm(outDir, { recursive: true, force: true })
  await build({
    entryPoints: [
      { in: path.join(source, 'main.ts'), out: 'main' },
      { in: path.join(source, 'style.css'), out: 'style' },
      { in: path.join(source, 'lab/main.ts'), out: 'lab' },
      { in: path.join(source, 'lab/style.css'), out: 'lab' },
    ],
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
  for (const page of ['index.html', 'lab.html'])
    await copyFile(path.join(source, page), path.join(outDir, page))
}
