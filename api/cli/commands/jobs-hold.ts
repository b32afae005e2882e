import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { CommandModule, Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showOne } from '../render.ts';
import { JOBS } from '../shapes.ts';
import type { Format } from '../values.ts';

async function post(verb: 'hold' | 'release', invocation: Invocation): Promise<number> {
  const client = await connect(invocation);
  const job = await client.json<Row>('POST', `/v1/jobs/${await jobIdOf(client, invocation.args[0] ?? '')}:${verb}`);
  await showOne(invocation.io, invocation.options.output as Format, JOBS, job);
  return EXIT.ok;
}

export const hold: CommandModule = { default: (invocation) => post('hold', invocation) };
export const release: CommandModule = { default: (invocation) => post('release', invocation) };
