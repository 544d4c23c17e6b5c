import { createPolling } from '@everwire/polling-bridge/client'

export const polling = createPolling()
