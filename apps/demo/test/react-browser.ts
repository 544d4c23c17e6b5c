import { createElement as h } from 'react'
import { createRoot, hydrateRoot } from 'react-dom/client'
import { App, type View } from './react-page.js'

declare global {
  interface Window {
    show: (view: Partial<View>) => void
    unmount?: () => void
    faults: unknown[]
  }
}

// Loaded a second time it does what a bundler's hot reload does: the tree goes, and comes back with new modules.
const isReloaded = window.unmount !== undefined
window.unmount?.()
window.faults ??= []
const place = document.getElementById('root')!
const app = h(App, { control: (show) => (window.show = show) })
const options = { onRecoverableError: (error: unknown) => window.faults.push(String(error)) }
const root = isReloaded ? createRoot(place, options) : hydrateRoot(place, app, options)
if (isReloaded) root.render(app)
window.unmount = () => root.unmount()
