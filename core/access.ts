/**
 * What an identity may do: read anything of its tenant; submit and cancel jobs; post reports; change pools, suites and models; and, of the
 * installation and so of all tenants, read the whole audit trail and turn its keys.
 */
export const FUNCTIONS = ['read', 'submit', 'report', 'operate', 'audit'] as const;
export type ApiFunction = (typeof FUNCTIONS)[number];

/**
 * What each role may, whoever holds it: people by the groups of their token, services by their certificate. Nothing else is granted anywhere. That an
 * admin may not `audit` is meant: it is of all tenants, and who looks after one of them does not get it by that.
 */
export const ACCESS_ROLES = {
  viewer: ['read'],
  submitter: ['read', 'submit'],
  reporter: ['report'],
  operator: ['read', 'submit', 'operate'],
  auditor: ['read', 'audit'],
  admin: ['read', 'submit', 'report', 'operate'],
} as const satisfies Readonly<Record<string, readonly ApiFunction[]>>;
export type AccessRole = keyof typeof ACCESS_ROLES;

export function isAccessRole(name: string): name is AccessRole {
  return Object.hasOwn(ACCESS_ROLES, name);
}

/** Of several roles all that any of them may, in the order of FUNCTIONS. */
export function functionsOf(roles: Iterable<AccessRole>): readonly ApiFunction[] {
  const granted = new Set<ApiFunction>([...roles].flatMap((role) => [...ACCESS_ROLES[role]]));
  return FUNCTIONS.filter((one) => granted.has(one));
}
