import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { CommandModule, Invocation } from '../invocation.ts';
import { type Row, type Shape, showList, showOne } from '../render.ts';
import type { Format } from '../values.ts';

const PATH = '/v1/audit/keys';
/** The leader goes over with its next checkpoint, within a second as a rule. */
const WAIT_MS = 30_000;
const LOOK_MS = 250;

const KEYS: Shape = {
  name: (row) => String(row.id),
  columns: [
    { head: 'KEY', cell: (row) => row.id },
    { head: 'ALGORITHM', cell: (row) => row.algorithm },
    { head: 'STATE', cell: (row) => String(row.state).replaceAll('_', ' ') },
    { head: 'FROM', cell: (row) => row.validFrom },
    { head: 'TO', cell: (row) => row.validTo },
  ],
};

async function lsKeys(invocation: Invocation): Promise<number> {
  const { io, options } = invocation;
  const client = await connect(invocation);
  await showList(io, options.output as Format, KEYS, (await client.json<{ items: Row[] }>('GET', PATH)).items);
  return EXIT.ok;
}

async function rotateKey(invocation: Invocation): Promise<number> {
  const { io, options, signal } = invocation;
  const client = await connect(invocation);
  const asked = await client.json<Row>('POST', `${PATH}:rotate`);
  const key = options.detach === true ? asked : await inUse(client, asked, signal);
  await showOne(io, options.output as Format, KEYS, key);
  io.note(
    key.state === 'in_use'
      ? 'hand the new roots to whoever verifies: merit audit export --roots roots.json'
      : 'the leader goes over with its next checkpoint',
  );
  return EXIT.ok;
}

async function inUse(client: Client, asked: Row, signal: AbortSignal): Promise<Row> {
  for (
    const until = performance.now() + WAIT_MS;
    performance.now() < until;
    await sleep(LOOK_MS, undefined, { signal })
  ) {
    const { items } = await client.json<{ items: Row[] }>('GET', PATH);
    const key = items.find((one) => one.id === asked.id);
    if (key?.state === 'in_use') return key;
  }
  throw new CliError(
    EXIT.unreachable,
    'not_rotated',
    `the trail is still signed by another key than ${String(asked.id)}`,
    {
      mend: 'it was asked for and may come yet: see that every server names that key in signer.next, and its log',
    },
  );
}

export const ls: CommandModule = { default: lsKeys };
export const rotate: CommandModule = { default: rotateKey };
