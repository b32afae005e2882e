import { readFile } from 'node:fs/promises';
import { FUNCTIONS } from '../../core/access.ts';
import { kernel as kernelClient } from '../../peers/kernel/client.ts';
import { ROLE_OUTCOMES, type RoleBook, roleBook } from '../../peers/kernel/role-book.ts';
import type { PeerHttp } from '../../peers/peer-call.ts';
import type { Clock } from '../../platform/clock.ts';
import type { ServerConfig } from '../../platform/config.ts';
import type { OidcConfig } from '../../platform/identity-config.ts';
import { type IssuerKeys, type IssuerKeysWatch, openIssuerKeys } from '../../platform/issuer-keys.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { oidcVerifier } from '../../platform/oidc.ts';
import type { Database } from '../../platform/postgres.ts';
import type { RotatingTls, TlsRotationWatch } from '../../platform/tls-rotation.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import { denialTrail } from '../http/denials.ts';
import { identifier, serviceIdentifier } from '../http/identify.ts';
import type { Services } from '../http/services.ts';

export interface Access extends Pick<Services, 'identify' | 'denied' | 'allowedHosts'> {
  /** The keys of the identity provider; undefined: none is configured. */
  readonly keys: IssuerKeys | undefined;
  /** What Kernel says people may do; undefined: it has no say here. */
  readonly roles: RoleBook | undefined;
  /** What runs beside the doors: keys and certificates that change, denials that are to be written. */
  run(signal: AbortSignal): Promise<unknown>;
}

/** Every tenant that the configuration lets somebody into. */
export function tenantsOf(config: Pick<ServerConfig, 'tenant' | 'oidc' | 'services' | 'eventLog'>): readonly string[] {
  const { tenant: own, oidc, services, eventLog } = config;
  const people =
    oidc === undefined ? [] : 'literal' in oidc.tenant ? [oidc.tenant.literal] : Object.values(oidc.tenant.of);
  const logged = eventLog.kind === 'kafka' ? eventLog.tenants : [];
  return [...new Set([own, ...people, ...logged, ...(services?.callers ?? []).map(({ tenant }) => tenant)])];
}

/** Who may come in, by the configuration: the three ways of being known, and what becomes of who is turned away. */
export async function openAccess(options: {
  readonly config: Pick<ServerConfig, 'tenant' | 'oidc' | 'services'>;
  readonly token: string;
  readonly tls: RotatingTls;
  /** undefined: people have the roles of their groups. */
  readonly kernel: PeerHttp | undefined;
  readonly db: Database;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Log;
}): Promise<Access> {
  const { config, tls, clock, metrics, log } = options;
  const { tenant, oidc, services } = config;
  const keys = oidc === undefined ? undefined : await issuerKeys(oidc, options);
  const denials = denialTrail({ db: options.db, clock, log, metrics, tenant });
  const certificates = tlsWatch(metrics, log);
  const roles = options.kernel === undefined ? undefined : kernelRoles(options.kernel, options);
  return {
    identify: identifier({
      local: {
        token: options.token,
        identity: { principal: 'token:local', tenant, functions: FUNCTIONS, producers: 'any' },
      },
      oidc: oidc === undefined || keys === undefined ? undefined : await oidcVerifier(oidc, keys, clock),
      kernel: roles?.rolesOf,
      service: services === undefined ? undefined : serviceIdentifier({ callers: services.callers, tls, clock }),
    }),
    denied: denials.denied,
    allowedHosts: services?.hosts ?? [],
    keys,
    roles,
    run: (signal) => Promise.all([denials.run(signal), tls.follow(certificates, signal), keys?.follow(signal)]),
  };
}

async function issuerKeys(
  { issuer, caFile }: OidcConfig,
  { clock, metrics, log }: { readonly clock: Clock; readonly metrics: Metrics; readonly log: Log },
): Promise<IssuerKeys> {
  const age = metrics.gauge('merit_oidc_keys_age_seconds', 'Since the keys of the identity provider were read', {});
  const refreshes = metrics.counter('merit_oidc_refreshes_total', 'Readings of the identity provider’s keys', {
    outcome: ['read', 'failed'],
  });
  const watch: IssuerKeysWatch = {
    ageSeconds: (seconds) => age({}, seconds),
    refreshed: (outcome) => refreshes({ outcome }),
    failed: (error) =>
      log.warn(
        { err: error },
        'the keys of the identity provider cannot be read; those that are known go on for a day',
      ),
  };
  return openIssuerKeys({ issuer, ca: caFile === undefined ? undefined : await readFile(caFile), clock, watch });
}

function kernelRoles(
  http: PeerHttp,
  { clock, metrics, log }: { readonly clock: Clock; readonly metrics: Metrics; readonly log: Log },
): RoleBook {
  const answers = metrics.counter(
    'merit_kernel_role_answers_total',
    'What came of asking Kernel what a person may do',
    {
      outcome: ROLE_OUTCOMES,
    },
  );
  return roleBook({
    kernel: kernelClient({ http }),
    clock,
    watch: {
      answered: (outcome) => answers({ outcome }),
      failed: (error) =>
        log.warn(
          { err: error },
          'Kernel does not say what people may do; whoever is not known by now is let in nowhere',
        ),
      recovered: () => log.info({}, 'Kernel says again what people may do'),
    },
  });
}

function tlsWatch(metrics: Metrics, log: Log): TlsRotationWatch {
  const validFor = metrics.gauge('merit_tls_valid_seconds', 'Until our own certificate ends', {});
  const changes = metrics.counter(
    'merit_tls_changes_total',
    'Changes of the files of our certificate, by whether they serve',
    {
      outcome: ['taken', 'refused'],
    },
  );
  return {
    validFor: (seconds) => validFor({}, seconds),
    rotated: ({ spiffeId, expiresAtMs }) => {
      changes({ outcome: 'taken' });
      log.info(
        { spiffeId, until: new Date(expiresAtMs).toISOString() },
        'another certificate, or other authorities, are used from now on',
      );
    },
    failed: (error) => {
      changes({ outcome: 'refused' });
      log.warn(
        { err: error },
        'the files of our certificate have changed and cannot serve; what was read before goes on',
      );
    },
  };
}
