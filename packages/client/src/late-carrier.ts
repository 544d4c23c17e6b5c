import type { Carrier } from './carrier.js'

/** Stands for another carrier that is loaded first, or for `own` where that cannot be; connects when it is there. */
export function createLateCarrier(own: Carrier, loading: Promise<Carrier>): Carrier {
  let carrier = own
  let isLoaded = false
  let isWanted = false
  void loading
    .then(
      (loaded) => {
        // Closed meanwhile, and done.
        if (own.state === 'idle') carrier = loaded
      },
      () => {},
    )
    .then(() => {
      isLoaded = true
      if (isWanted) carrier.connect()
    })
  return {
    get state() {
      return carrier.state
    },
    get transport() {
      return carrier.transport
    },
    get stale() {
      return carrier.stale
    },
    get userId() {
      return carrier.userId
    },
    connect() {
      isWanted = true
      if (isLoaded) carrier.connect()
    },
    close: (error) => carrier.close(error),
    switchTo: (transport) => carrier.switchTo(transport),
    ping: () => carrier.ping(),
    explain: () => carrier.explain(),
    stats: () => carrier.stats(),
  }
}
