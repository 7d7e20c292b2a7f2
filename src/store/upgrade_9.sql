-- Version 9. Later parts of this step stand below, by topic.

-- Two things that a container has to follow may happen at one instant: they are counted.
ALTER TABLE machines ADD COLUMN looks INTEGER NOT NULL DEFAULT 0;
