-- From version 5 to 6: checks that need no b-tree in memory, and the driver's agenda in its order.
--
-- SQLite cannot alter a CHECK. The new ones allow the same values, so no row has to be looked at, and
-- the text of the tables is what changes: https://www.sqlite.org/lang_altertable.html, section 8.

PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(replace(sql,
    'max_computer_size IN (''small'', ''medium'', ''large'')',
    'max_computer_size IN (''small'', ''medium'') OR max_computer_size = ''large'''),
    'default_computer_size IN (''xs'', ''small'', ''medium'', ''large'', ''xl'')',
    'default_computer_size IN (''xs'', ''small'') OR default_computer_size IN (''medium'', ''large'')
                                  OR default_computer_size = ''xl''')
    WHERE type = 'table' AND name = 'workspaces';
UPDATE sqlite_schema SET sql = replace(replace(replace(sql,
    'size IN (''xs'', ''small'', ''medium'', ''large'', ''xl'')',
    'size IN (''xs'', ''small'') OR size IN (''medium'', ''large'') OR size = ''xl'''),
    'status IN
                        (''provisioning'', ''starting'', ''running'', ''stopping'', ''stopped'', ''error'', ''destroyed'')',
    'status IN (''provisioning'', ''starting'') OR status IN (''running'', ''stopping'')
                        OR status IN (''stopped'', ''error'') OR status = ''destroyed'''),
    'visibility IN (''public'', ''tenant'', ''key'')',
    'visibility IN (''public'', ''tenant'') OR visibility = ''key''')
    WHERE type = 'table' AND name = 'computers';
UPDATE sqlite_schema SET sql = replace(sql,
    'actor_type IN (''api_key'', ''system'', ''operator'')',
    'actor_type IN (''api_key'', ''system'') OR actor_type = ''operator''')
    WHERE type = 'table' AND name = 'audit_log';
PRAGMA writable_schema = RESET;

DROP INDEX computers_due;
CREATE INDEX computers_due ON computers (due_at, id) WHERE due_at IS NOT NULL;
