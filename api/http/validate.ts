import type { FastifyInstance } from 'fastify';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { check, type TSchema } from '../../core/schema.ts';

/** Schemas are checked by core/schema, so that a refusal reads the same at HTTP, in the CLI and in a file. */
export function validateBySchema(app: FastifyInstance): void {
  app.setValidatorCompiler(({ schema, httpPart }) => {
    const typed = schema as TSchema;
    const integers = httpPart === 'querystring' ? integerProperties(schema) : [];
    return (value: unknown) => {
      const nul = httpPart === 'body' ? undefined : nulRefusal(value);
      if (nul !== undefined) return { error: new RefusedInput([nul]) };
      const given = integers.length === 0 ? value : withIntegers(value, integers);
      const refusals = check(typed, given);
      if (refusals.length === 0) return { value: given };
      return { error: new RefusedInput(refusals.map((refusal) => sharpened(refusal, given, httpPart))) };
    };
  });
}

/** A `%00` in a path or query; bodies are refused it while they are read. Postgres has no text with it. */
function nulRefusal(value: unknown): Refusal | undefined {
  const [name] =
    Object.entries(value as Record<string, unknown>).find(
      ([, text]) => typeof text === 'string' && text.includes('\u0000'),
    ) ?? [];
  return name === undefined ? undefined : refuse('encoding', name, 'holds NUL', 'take it out');
}

function integerProperties(schema: unknown): readonly string[] {
  const properties = (schema as { properties?: Record<string, { type?: unknown }> }).properties ?? {};
  return Object.keys(properties).filter((name) => properties[name]?.type === 'integer');
}

const PLAIN_INTEGER = /^(0|[1-9][0-9]{0,14})$/;

/** A query's text as a number, where it is written as one plainly; anything else stays text and is refused. */
function withIntegers(value: unknown, names: readonly string[]): unknown {
  const query: Record<string, unknown> = { ...(value as Record<string, unknown>) };
  for (const name of names) {
    const text = query[name];
    if (typeof text === 'string' && text.length <= 15 && PLAIN_INTEGER.test(text)) query[name] = Number(text);
  }
  return query;
}

/** An integer past 2^53 is told as what it is, and a bad top level as `not_an_object`. */
function sharpened(refusal: Refusal, value: unknown, httpPart: string | undefined): Refusal {
  if (httpPart === 'body' && refusal.field === '' && refusal.code === 'type') {
    return refuse('not_an_object', '', 'must be a JSON object', 'send an object');
  }
  const at = refusal.field
    .split('.')
    .reduce<unknown>((part, name) => (part as Record<string, unknown> | undefined)?.[name], value);
  if (typeof at === 'number' && Number.isInteger(at) && !Number.isSafeInteger(at)) {
    return refuse('unsafe_integer', refusal.field, 'is an integer beyond 2^53', 'choose a value in range');
  }
  return refusal;
}
