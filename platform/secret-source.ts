import { parseJson } from '../core/json.ts';
import { ownOf } from '../core/own.ts';
import { RefusedInput, refuse } from '../core/refusal.ts';
import { type Static, Type } from '../core/schema.ts';
import { type AwsSecretPlace, readAwsSecret } from './aws-secrets.ts';
import type { Reader } from './config-file.ts';
import { ruleEndpoint } from './config-rules.ts';
import { Secret } from './secret.ts';
import { readPrivateFile } from './secret-file.ts';

const Text = Type.String({ minLength: 1, maxLength: 2048 });
const Optional = Type.Optional;
const closed = { additionalProperties: false } as const;

/** How the configuration names a secret: where it is, never what it is. With `field` it is JSON, and the secret is that member. */
export const SecretFileSource = Type.Object({ file: Text, field: Optional(Text) }, closed);
export const AwsSecretSource = Type.Object(
  {
    awsSecret: Text,
    field: Optional(Text),
    region: Optional(Text),
    endpoint: Optional(Text),
    profile: Optional(Text),
  },
  closed,
);
export const SecretSourceFile = Type.Union([SecretFileSource, AwsSecretSource]);

export type SecretSource =
  | { readonly kind: 'file'; readonly path: string; readonly member: string | undefined }
  | { readonly kind: 'aws'; readonly place: AwsSecretPlace; readonly member: string | undefined };

/** Files are looked at so often, Secrets Manager so often: each look there costs a call. */
export const FILE_EVERY_MS = 5_000;
export const AWS_EVERY_MS = 60_000;

export function everyMsOf(source: SecretSource): number {
  return source.kind === 'file' ? FILE_EVERY_MS : AWS_EVERY_MS;
}

export function secretSource(
  field: string,
  named: Static<typeof SecretSourceFile>,
  resolveFile: (path: string) => string,
  reader: Reader,
): SecretSource {
  if ('file' in named) return { kind: 'file', path: resolveFile(named.file), member: named.field };
  const { awsSecret: id, endpoint, region, profile } = named;
  return {
    kind: 'aws',
    member: named.field,
    place: {
      id,
      region,
      profile,
      endpoint: endpoint === undefined ? undefined : reader.take(ruleEndpoint(`${field}.endpoint`, endpoint), ''),
    },
  };
}

/** As its source has it now. Throws RefusedInput or OperatingError; no content is ever told. */
export async function readSecretSource(source: SecretSource, field: string): Promise<Secret> {
  const whole = await wholeOf(source, field);
  const { member } = source;
  const text = (member === undefined ? whole : memberOf(whole, member, field)).replace(/\r?\n$/, '');
  if (/^[\x21-\x7e]+$/.test(text)) return new Secret(text);
  throw refused(field, 'is not one line of printable characters', 'store the secret alone');
}

/** Members of a secret that is JSON, as Vault's templates and Secrets Manager have logins. */
export async function readSecretMembers<Name extends string>(
  source: SecretSource,
  names: readonly Name[],
  field: string,
): Promise<Readonly<Record<Name, string>>> {
  const whole = await wholeOf(source, field);
  return Object.fromEntries(names.map((name) => [name, memberOf(whole, name, field)])) as Record<Name, string>;
}

async function wholeOf(source: SecretSource, field: string): Promise<string> {
  if (source.kind === 'aws') return (await readAwsSecret(source.place)).reveal();
  return (await readPrivateFile(source.path, field)).toString('utf8');
}

/** What lacks the member is refused, so that what was read before goes on. */
function memberOf(whole: string, member: string, field: string): string {
  const reading = parseJson(Buffer.from(whole));
  if (!reading.ok || typeof reading.value !== 'object' || reading.value === null || Array.isArray(reading.value))
    throw refused(field, 'is not a JSON object', 'store it as one, or take `field` out');
  const value = ownOf(reading.value as Readonly<Record<string, unknown>>, member);
  if (typeof value === 'string' && value !== '') return value;
  throw refused(field, `has no text under ${JSON.stringify(member)}`, 'name a member that it has');
}

function refused(field: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse('secret_file', field, problem, mend)]);
}
