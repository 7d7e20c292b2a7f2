// The same data model as far as PocketBase has one: whoever is signed in may do everything.
migrate((app) => {
  const signedIn = '@request.auth.id != ""';
  const rules = { listRule: signedIn, viewRule: signedIn, createRule: signedIn, updateRule: signedIn, deleteRule: signedIn };
  const stamps = [
    { name: 'created_at', type: 'autodate', onCreate: true },
    { name: 'updated_at', type: 'autodate', onCreate: true, onUpdate: true },
  ];
  app.save(new Collection({
    type: 'base', name: 'workspaces', ...rules,
    fields: [
      { name: 'name', type: 'text', required: true, max: 120 },
      { name: 'slug', type: 'text', required: true, max: 80 },
      { name: 'external_workspace_id', type: 'text', max: 255 },
      { name: 'description', type: 'text', max: 2000 },
      { name: 'metadata', type: 'json' },
      { name: 'is_default', type: 'bool' },
      { name: 'computer_count', type: 'number' },
      ...stamps,
    ],
    indexes: ['CREATE UNIQUE INDEX workspaces_slug ON workspaces (slug)'],
  }));
  app.save(new Collection({
    type: 'base', name: 'compute_events', ...rules,
    fields: [
      { name: 'workspace_id', type: 'text' },
      { name: 'computer_id', type: 'text' },
      { name: 'at', type: 'number' },
      { name: 'billable', type: 'number' },
      { name: 'rate', type: 'number' },
    ],
    indexes: ['CREATE INDEX compute_events_of_workspace ON compute_events (workspace_id, computer_id, at)'],
  }));
});
