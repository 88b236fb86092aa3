// Hosts whose files the page may show or fetch: those of its Content-Security-Policy.

const allowed = { show: [], fetch: [] };

/** Sets the hosts of the page's configuration. */
export function allowHosts({ picture_hosts: show, upload_hosts: fetch }) {
  Object.assign(allowed, { show, fetch });
}

const permitted = (url, hosts) => {
  if (/^(data|blob):/.test(url)) return true;
  const origin = URL.parse ? URL.parse(url, location.href)?.origin : new URL(url, location.href).origin;
  return origin === location.origin || hosts.includes(origin);
};

export const canShow = (url) => permitted(url, allowed.show);
export const canFetch = (url) => permitted(url, allowed.fetch);
