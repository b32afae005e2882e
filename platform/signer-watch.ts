import { OperatingError } from '../core/operating-error.ts';
import type { Signer } from './signer.ts';
import { withSpan } from './trace.ts';

export interface SignerWatch {
  signed(seconds: number): void;
  /** By an OperatingError's code, or `other`. */
  failed(code: string): void;
}

/** The signer, with a span and a count of each signature. */
export function watchedSigner(signer: Signer, watch: SignerWatch): Signer {
  return {
    ...signer,
    sign: (bytes) =>
      withSpan('signer.sign', { algorithm: signer.algorithm, bytes: bytes.length }, async () => {
        const startedAt = performance.now();
        try {
          const signature = await signer.sign(bytes);
          watch.signed((performance.now() - startedAt) / 1000);
          return signature;
        } catch (error) {
          watch.failed(error instanceof OperatingError ? error.code : 'other');
          throw error;
        }
      }),
  };
}
