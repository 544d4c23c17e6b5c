import type { NodeProcess } from '../support/play/node-process.js'

/** `owner`: the node that has the session. `elsewhere`: any but that one. */
export type Placement = 'owner' | 'elsewhere'

/**
 * Makes a balancer send each HTTP request of a session where it is told to, by the node that the session id names; the
 * session stands in the body of a POST, or in the header of an event stream. Upgrades, and what names no session, go
 * round as before.
 */
export function place(config: string, nodes: readonly NodeProcess[], placement: Placement): string {
  const at = config.indexOf('\nbackend everwire\n')
  if (at < 0) throw new Error('the configuration has no backend everwire')
  const [before, backend] = [config.slice(0, at), config.slice(at)]
  const rules = nodes.flatMap(({ nodeId }, i) => [
    `acl of_${i} req.body -m sub '"session":"${nodeId}.'`,
    `acl of_${i} req.hdr(everwire-frames) -m sub '"session":"${nodeId}.'`,
    `use_backend placed_${i} if of_${i}`,
  ])
  const placed = nodes.map((node, i) =>
    backend
      .replace('backend everwire', `backend placed_${i}`)
      .split('\n')
      .filter((line) => {
        const address = /^\s*server \S+ (\S+)/.exec(line)?.[1]
        return address === undefined || (address === node.address) === (placement === 'owner')
      })
      .join('\n'),
  )
  const frontend = before.replace(
    /^(\s*)default_backend everwire$/m,
    (line, indent: string) =>
      `${['option http-buffer-request', ...rules].map((rule) => indent + rule).join('\n')}\n${line}`,
  )
  return [frontend, backend, ...placed].join('\n')
}
