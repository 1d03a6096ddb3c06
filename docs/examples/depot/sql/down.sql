DROP TABLE moves, lost_work, kombu_message, kombu_queue, celery_taskmeta, celery_tasksetmeta;
DROP SEQUENCE queue_id_sequence, message_id_sequence, task_id_sequence, taskset_id_sequence;
