/** The signer port: an Ed25519 key file by default, or a P-256 key in AWS KMS. */
export interface Signer {
  /** `ed25519:` or `ecdsa-p256:` and the first 16 hex of SHA-256 of the raw public key; pinned with its algorithm. */
  readonly keyId: string;
  readonly algorithm: 'ed25519' | 'ecdsa-p256-sha256';
  /** Raw public key bytes: 32 for Ed25519, the uncompressed point (65) for P-256. */
  readonly publicKey: Uint8Array;
  /** Ed25519: 64 bytes; ECDSA: DER. May go over the network: never in a transaction. Throws OperatingError. */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
}
