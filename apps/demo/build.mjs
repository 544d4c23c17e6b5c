// The last step of the build: the page, from what tsc has made of this package and of its siblings.
import { fileURLToPath } from 'node:url'
import { buildPage } from './dist/build-page.js'

await buildPage(fileURLToPath(new URL('dist/public', import.meta.url)))
