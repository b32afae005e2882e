import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showOne, wholeText } from '../render.ts';
import { PROMOTIONS } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function promotionsGet(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const decision = await client.get<Row>(`/v1/promotions/${encodeURIComponent(args[0] ?? '')}`);
  await showOne(io, options.output as Format, PROMOTIONS, decision, await wholeText(decision));
  return EXIT.ok;
}
