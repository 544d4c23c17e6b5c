import { createClient, type Client, type ClientOptions } from '@everwire/client'
import {
  createContext,
  createElement,
  useContext,
  useEffect,
  useState,
  type ReactElement,
  type ReactNode,
} from 'react'

/** Null outside of a provider; undefined in one that has no client yet. */
const ClientContext = createContext<Client | undefined | null>(null)

export type EverwireProviderProps = { children?: ReactNode } & (
  | {
      /** A client whose life is the application's business. */
      client: Client
      options?: undefined
    }
  | {
      /** Of the client that the provider has as long as it is mounted; read once, when it mounts. */
      options: ClientOptions
      client?: undefined
    }
)

/** Gives a client to the hooks below it. */
export function EverwireProvider({ client, options, children }: EverwireProviderProps): ReactElement {
  const own = useOwnClient(client ? undefined : options)
  return createElement(ClientContext.Provider, { value: client ?? own }, children)
}

/**
 * The client of the provider above. Undefined on a server and until a provider with `options` has mounted, so in every
 * event handler it is there.
 * @throws TypeError outside of a provider
 */
export function useClient(): Client | undefined {
  const client = useContext(ClientContext)
  if (client === null) throw new TypeError('useClient: wrap the component in <EverwireProvider>')
  return client
}

/** A client for each mount: made in an effect, so that neither a server nor a render that is thrown away makes one. */
function useOwnClient(options: ClientOptions | undefined): Client | undefined {
  const [client, setClient] = useState<Client>()
  const isWanted = options !== undefined
  useEffect(() => {
    if (!options) return
    const created = createClient(options)
    setClient(created)
    return () => {
      created.close()
      // A tree that is hidden and shown again must not find the closed one.
      setClient(undefined)
    }
    // Options written inline are another object in each render.
  }, [isWanted])
  return client
}
