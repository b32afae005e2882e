import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { check, type TSchema } from '../../core/schema.ts';
import { ProviderError } from '../provider.ts';

/** All that `schema` finds wrong with a job's options below `root`; fields as they stand in its file. `mends`: by member, where the schema's own words would not help. */
export function schemaRefusals(
  root: string,
  schema: { readonly properties: Readonly<Record<string, unknown>> },
  mends: Readonly<Record<string, string>>,
  value: unknown,
): readonly Refusal[] {
  const there = Object.keys(schema.properties).join(', ');
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return [refuse('type', root, 'is no object', `write below it: ${there}`)];
  const all = check(schema as unknown as TSchema, value);
  // Of a map whose value is wrong the schema says besides that its key is not known.
  const isEcho = ({ code, field }: Refusal) =>
    code === 'unknown_field' && all.some((other) => other.code !== code && `${other.field}.`.startsWith(`${field}.`));
  return all
    .filter((one) => !isEcho(one))
    .map(({ code, field, problem, mend }) => {
      const [member = ''] = field.split('.');
      if (code === 'unknown_field' && member === field)
        return refuse(code, `${root}.${field}`, 'is not known', `remove it; there are ${there}`);
      return refuse(code, `${root}.${field}`, problem, mends[member] ?? mend);
    });
}

/** A job's options, of which `refusals` finds what is wrong. Throws ProviderError `invalid` with every problem at once. */
export function checkedOptions<Options>(value: unknown, refusals: (value: unknown) => readonly Refusal[]): Options {
  const wrong = refusals(value);
  if (wrong.length > 0) throw new ProviderError('invalid', new RefusedInput(wrong).message);
  return (value ?? {}) as Options;
}
