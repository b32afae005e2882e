/** The signer port: Ed25519 key file by default, KMS later. */
export interface Signer {
  /** `ed25519:<first 16 hex of SHA-256 of the raw public key>`; pinned with its algorithm. */
  readonly keyId: string;
  readonly algorithm: 'ed25519' | 'ecdsa-p256-sha256';
  /** Raw public key bytes (32 for Ed25519). */
  readonly publicKey: Uint8Array;
  sign(bytes: Uint8Array): Promise<Uint8Array>;
}
