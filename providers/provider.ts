/** The provider contract as Merit's own rooms import it. It is a package of its own, so that a provider needs nothing else of Merit. */
export { checkAttempt, checkKey, isKey } from './merit-provider/src/attempt-check.ts';
export { cleanMessage, MESSAGE_LIMIT_BYTES } from './merit-provider/src/clean-message.ts';
export {
  type AttemptSpec,
  CAPABILITY_NAMES,
  type Capabilities,
  defineProvider,
  type EndOutcome,
  type FlavourCapacity,
  type Handle,
  type Observation,
  type Offer,
  type OpenContext,
  type Owned,
  type PoolFlavour,
  PROVIDER_CONTRACT_VERSION,
  type Provider,
  type ProviderClock,
  type ProviderDefinition,
  VERB_NAMES,
  type Verbs,
  WINDOW_LIMIT_MS,
} from './merit-provider/src/contract.ts';
export {
  EFFECTS,
  type Effect,
  isProviderError,
  PROVIDER_ERROR_CODES,
  ProviderError,
  type ProviderErrorCode,
} from './merit-provider/src/errors.ts';
export {
  defineTestBackend,
  JOBS_AT_ONCE,
  type TestBackend,
  type TestBackendDefinition,
} from './merit-provider/src/test-backend.ts';
export { readWorkdir, type WorkdirFile } from './merit-provider/src/workdir.ts';
