/** A fetch that asks again as a browser does: what it has an ETag of is revalidated, and 304 shows what it has. */
export function createBrowserFetch(
  headers: Readonly<Record<string, string>>,
): (url: string) => Promise<Response> {
  const kept = new Map<string, { etag: string; body: string }>()
  return async (url) => {
    const known = kept.get(url)
    const answer = await fetch(url, {
      headers: { ...headers, ...(known && { 'if-none-match': known.etag }) },
    })
    if (answer.status === 304 && known) return new Response(known.body, { headers: answer.headers })
    const etag = answer.headers.get('etag')
    if (!answer.ok || !etag) return answer
    const body = await answer.text()
    kept.set(url, { etag, body })
    return new Response(body, { headers: answer.headers })
  }
}
