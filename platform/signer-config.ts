import { type Static, Type } from '../core/schema.ts';
import type { Reader } from './config-file.ts';
import { ruleEndpoint } from './config-rules.ts';
import type { Signer } from './signer.ts';
import { openFileSigner } from './signer-file.ts';
import { type KmsSignerConfig, openKmsSigner } from './signer-kms.ts';

export type SignerConfig =
  | { readonly kind: 'file'; readonly keyFile: string }
  | ({ readonly kind: 'kms' } & KmsSignerConfig);

const Text = Type.String({ minLength: 1, maxLength: 4096 });
const closed = { additionalProperties: false } as const;
const Key = {
  keyFile: Type.Optional(Text),
  kms: Type.Optional(
    Type.Object(
      {
        key: Type.String({ minLength: 1, maxLength: 2048, pattern: '^[A-Za-z0-9:/_-]+$' }),
        region: Type.Optional(Text),
        endpoint: Type.Optional(Text),
        profile: Type.Optional(Text),
      },
      closed,
    ),
  ),
};

/** `signer` of merit.yaml: a key file or a key in KMS; `next` is the one that `merit audit rotate` goes over to. No credentials: the SDK finds them. */
export const SignerFile = Type.Object({ ...Key, next: Type.Optional(Type.Object(Key, closed)) }, closed);

export interface SignerConfigs {
  readonly current: SignerConfig;
  readonly next: SignerConfig | undefined;
}

export function signerConfig(
  file: Static<typeof SignerFile> | undefined,
  resolvePath: (path: string) => string,
  defaultKeyFile: string,
  reader: Reader,
): SignerConfigs {
  const read = (field: string, key: Omit<Static<typeof SignerFile>, 'next'>): SignerConfig | undefined => {
    const { keyFile, kms } = key;
    if (kms === undefined) return keyFile === undefined ? undefined : { kind: 'file', keyFile: resolvePath(keyFile) };
    if (keyFile !== undefined)
      reader.refuse('conflict', `${field}.keyFile`, `stands beside ${field}.kms`, 'keep one of the two');
    const { region, endpoint, profile } = kms;
    return {
      kind: 'kms',
      key: kms.key,
      region,
      endpoint: endpoint === undefined ? undefined : reader.take(ruleEndpoint(`${field}.kms.endpoint`, endpoint), ''),
      profile,
    };
  };
  const current = read('signer', file ?? {}) ?? { kind: 'file', keyFile: defaultKeyFile };
  const next = file?.next === undefined ? undefined : read('signer.next', file.next);
  if (file?.next !== undefined && next === undefined)
    reader.refuse('required', 'signer.next', 'names no key', 'write keyFile or kms below it');
  return { current, next };
}

/** Opens the key that the configuration names; a key file is made where there is none. Throws with what to do. */
export function openSigner(config: SignerConfig): Promise<Signer> {
  return config.kind === 'file' ? openFileSigner({ path: config.keyFile, create: true }) : openKmsSigner(config);
}
