"""HealthBench, easy subset: health conversations graded criterion by criterion."""
