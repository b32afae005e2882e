import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showOne } from '../render.ts';
import { RETRAINS } from '../shapes.ts';
import type { Format } from '../values.ts';

/** Asks for a retrain by hand; where one is open already, shows that one. */
export default async function modelsRetrain(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const row = await client.json<Row>('POST', `/v1/models/${encodeURIComponent(args[0] ?? '')}:retrain`);
  await showOne(io, options.output as Format, RETRAINS, row);
  return EXIT.ok;
}
