// Reads a secret, a parameter and a configuration as the extensions' documentation says.
const read = async (port, path, headers) => {
  const answer = await fetch(`http://localhost:${port}${path}`, { headers });
  return answer.ok ? answer.json() : answer.status;
};
exports.secrets = async () => {
  const token = { 'X-Aws-Parameters-Secrets-Token': process.env.AWS_SESSION_TOKEN ?? '' };
  const name = encodeURIComponent('/shop/limit');
  return [
    await read(2773, '/secretsmanager/get?secretId=database', token),
    await read(2773, `/systemsmanager/parameters/get?name=${name}&withDecryption=true`, token),
    await read(2773, '/secretsmanager/get?secretId=database'),
  ];
};
exports.configuration = () => read(2772, '/applications/shop/environments/live/configurations/flags');
exports.plain = async (event) => event;
