import Type, { type Static, type TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { type Refusal, RefusedInput, refuse } from './refusal.ts';

export type { Static, TSchema };
export { Type };

interface SchemaError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly params: object;
  readonly message: string;
}

interface Checker {
  Check(value: unknown): boolean;
  Errors(value: unknown): readonly SchemaError[];
}

const compiled = new WeakMap<object, Checker>();

function checkerOf(schema: TSchema): Checker {
  let checker = compiled.get(schema);
  if (checker === undefined) {
    checker = Compile(schema) as unknown as Checker;
    compiled.set(schema, checker);
  }
  return checker;
}

/** At most this many refusals are told at once. */
const MAX_REFUSALS = 50;

/** All refusals of `value` under `schema`; none: it is a Static<typeof schema>. Fields are dotted paths. */
export function check(schema: TSchema, value: unknown): readonly Refusal[] {
  const checker = checkerOf(schema);
  if (checker.Check(value)) return [];
  const all: Refusal[] = [];
  const seen = new Set<string>();
  for (const error of checker.Errors(value)) {
    for (const refusal of refusalsOf(error)) {
      const key = `${refusal.field} ${refusal.code}`;
      if (seen.has(key)) continue;
      seen.add(key);
      all.push(refusal);
    }
  }
  const refusals = all.filter((refusal) => !isBesideThePoint(refusal, all)).slice(0, MAX_REFUSALS);
  return refusals.length > 0
    ? refusals
    : [refuse('schema', '', 'does not match its schema', 'see the published JSON Schema')];
}

/** Of a union each alternative complains: the complaints within the one that was meant, or about the value itself, say it best. */
function isBesideThePoint({ field, code }: Refusal, all: readonly Refusal[]): boolean {
  const isUnion = all.some((other) => other.field === field && other.code === 'enum');
  if (!isUnion) return false;
  if (all.some((other) => other.field.startsWith(`${field}.`))) return true;
  const others = all.filter((other) => other.field === field && other.code !== 'enum');
  if (code === 'enum') return others.some((other) => other.code !== 'type');
  return code === 'type';
}

/** `value` as its static type; throws RefusedInput with every refusal. */
export function parse<S extends TSchema>(schema: S, value: unknown): Static<S> {
  const refusals = check(schema, value);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return value as Static<S>;
}

function fieldOf(instancePath: string): string {
  return instancePath
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .join('.');
}

function join(field: string, name: string): string {
  return field === '' ? name : `${field}.${name}`;
}

/** One schema error as refusals with our stable codes; `boolean`, `not` and the parts of a union say nothing a person needs. */
function refusalsOf(error: SchemaError): readonly Refusal[] {
  const field = fieldOf(error.instancePath);
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'boolean':
    case 'const':
    case 'not':
    case 'if':
      return [];
    case 'required':
      return (params.requiredProperties as string[]).map((name) =>
        refuse('required', join(field, name), 'is missing', 'add it'),
      );
    case 'additionalProperties':
    case 'unevaluatedProperties':
      return ((params.additionalProperties ?? params.unevaluatedProperties ?? []) as string[]).map((name) =>
        refuse('unknown_field', join(field, name), 'is not a field here', 'remove it or mend its spelling'),
      );
    case 'type':
      if (params.type === 'integer') return [refuse('integer', field, 'must be an integer', 'write a whole number')];
      return [refuse('type', field, error.message, 'see the published JSON Schema')];
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
    case 'multipleOf':
      return [refuse('range', field, error.message, 'choose a value in range')];
    case 'minLength':
    case 'maxLength':
    case 'minItems':
    case 'maxItems':
    case 'minProperties':
    case 'maxProperties':
      return [refuse('length', field, error.message, 'shorten or fill it')];
    case 'pattern':
      return [refuse('charset', field, error.message, 'use only the characters allowed')];
    case 'enum':
    case 'anyOf':
    case 'oneOf':
      return [refuse('enum', field, 'is none of the values allowed', 'see the published JSON Schema')];
    default:
      return [refuse('schema', field, error.message, 'see the published JSON Schema')];
  }
}
