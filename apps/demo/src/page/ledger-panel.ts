import { byId, setText } from './dom.js'
import type { PageLedger } from './page-ledger.js'
import type { Stream } from './stream.js'
import { count } from './words.js'

const buttonRate = 50

/** The four numbers, and the button that adds to them. */
export function createLedgerPanel(
  ledger: PageLedger,
  stream: Stream,
  start: (perSecond: number) => void,
): { render(): void } {
  const button = byId<HTMLButtonElement>('stream')
  const number = (name: string) => byId(`ledger-${name}`)
  const published = number('published')
  const received = number('received')
  const lost = number('lost')
  const doubled = number('doubled')
  const fine = number('fine')
  const verdicts = { lost: byId('verdict-lost'), doubled: byId('verdict-doubled') }

  button.addEventListener('click', () => {
    if (stream.rate > 0) stream.stop()
    else start(buttonRate)
  })
  return {
    render() {
      const snapshot = ledger.snapshot()
      setText(published, count(snapshot.published))
      setText(received, count(snapshot.received - snapshot.doubled))
      setText(lost, count(snapshot.lost))
      setText(doubled, count(snapshot.doubled))
      verdicts.lost.dataset.ok = String(snapshot.lost === 0)
      verdicts.doubled.dataset.ok = String(snapshot.doubled === 0)
      const waiting = stream.unanswered + snapshot.onTheirWay
      setText(
        fine,
        [
          `The server sends ten a second; you have sent ${count(stream.sequence)}.`,
          `On their way: ${count(waiting)}.`,
          snapshot.misordered > 0 ? `${count(snapshot.misordered)} out of order.` : 'All in order.',
          snapshot.gaps > 0 ? `${count(snapshot.gaps)} gaps told.` : '',
        ]
          .join(' ')
          .trim(),
      )
      button.setAttribute('aria-pressed', String(stream.rate > 0))
    },
  }
}
