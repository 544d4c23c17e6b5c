import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** Makes something that lives in a new folder; when that fails, nothing is left of it. */
export async function inFolder<Made>(
  name: string,
  make: (folder: string, clean: () => Promise<void>) => Promise<Made>,
): Promise<Made> {
  const folder = await mkdtemp(path.join(tmpdir(), `everwire-${name}-`))
  const clean = () => rm(folder, { recursive: true, force: true })
  try {
    return await make(folder, clean)
  } catch (error) {
    await clean()
    throw error
  }
}
