import { fileURLToPath } from 'node:url'

/** Where verifications leave what they made; not in git. */
export const outputFolder = fileURLToPath(new URL('../../../../.verify/', import.meta.url))
