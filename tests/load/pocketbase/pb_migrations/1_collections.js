// The same data model as far as PocketBase has one, and the check that this server makes, too: whoever
// is signed in sees and makes what belongs to the own tenant.
migrate((app) => {
  const own = '@request.auth.id != "" && tenant = @request.auth.tenant';
  const rules = { listRule: own, viewRule: own, createRule: own, updateRule: own, deleteRule: own };
  app.save(new Collection({ type: 'auth', name: 'members', fields: [{ name: 'tenant', type: 'text', required: true }] }));
  const stamps = [
    { name: 'created_at', type: 'autodate', onCreate: true },
    { name: 'updated_at', type: 'autodate', onCreate: true, onUpdate: true },
  ];
  app.save(new Collection({
    type: 'base', name: 'workspaces', ...rules,
    fields: [
      { name: 'tenant', type: 'text', required: true },
      { name: 'name', type: 'text', required: true, max: 120 },
      { name: 'slug', type: 'text', required: true, max: 80 },
      { name: 'external_workspace_id', type: 'text', max: 255 },
      { name: 'description', type: 'text', max: 2000 },
      { name: 'metadata', type: 'json' },
      { name: 'is_default', type: 'bool' },
      { name: 'computer_count', type: 'number' },
      ...stamps,
    ],
    indexes: ['CREATE UNIQUE INDEX workspaces_slug ON workspaces (tenant, slug)'],
  }));
  app.save(new Collection({
    type: 'base', name: 'compute_events', ...rules,
    fields: [
      { name: 'tenant', type: 'text' },
      { name: 'workspace_id', type: 'text' },
      { name: 'computer_id', type: 'text' },
      { name: 'at', type: 'number' },
      { name: 'billable', type: 'number' },
      { name: 'rate', type: 'number' },
    ],
    indexes: ['CREATE INDEX compute_events_of_workspace ON compute_events (workspace_id, computer_id, at)'],
  }));
});
